"""What a person runs beside the stages: to look, to command, to try, to set up."""
