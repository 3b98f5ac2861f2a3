"""The stage that hears locally whether someone speaks."""
