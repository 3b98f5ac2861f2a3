"""Code that two or more packages use: the bus, the messages, configuration, the loop, devices."""
