"""The stage that has the speaker, and knows what was heard."""
