"""What two or more packages need of the Realtime protocol: where, words, ids."""
