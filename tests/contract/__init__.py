"""What the parts promise each other: the registry, imports, hostile bytes, the commands."""
