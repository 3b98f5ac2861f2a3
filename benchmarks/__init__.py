"""What anyone can rerun: what a conversation costs, and how well it is interrupted."""
