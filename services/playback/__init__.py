"""The stage that plays replies on the speaker, and counts how far each item was heard."""
