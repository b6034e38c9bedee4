"""The public functions of ``mvsa_pipe`` and the objects that they return.

Each function takes the paths, names and keywords that a notebook has at hand, builds the option
objects of the command line from them, and calls the same functions as the command line.
"""
