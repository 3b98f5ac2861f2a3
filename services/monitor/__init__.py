"""The door: what is on the bus, for viewers and buttons that speak HTTP and JSON."""
