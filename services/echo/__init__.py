"""The stage that removes the assistant's voice from the microphone."""

import os

# Before the first import of NumPy. The products are so small that dividing them among threads took
# 18 s of processor time for a scene that one thread computes in 11 s.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
