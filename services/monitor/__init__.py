"""The door: it shows the bus to viewers and buttons that speak HTTP and JSON."""
