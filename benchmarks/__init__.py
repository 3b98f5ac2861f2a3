"""What a user can rerun: what a conversation costs, and how soon and how truly it is interrupted."""
