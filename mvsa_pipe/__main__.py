"""``python -m mvsa_pipe`` is the same as ``mvsa``."""

from mvsa_pipe.cli import main

if __name__ == "__main__":
    main()
