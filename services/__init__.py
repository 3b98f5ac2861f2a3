"""The stages. One module each; `ls` shows the way of a frame."""
