"""Code that several test modules use: real processes, servers, forgers, stand-ins."""
