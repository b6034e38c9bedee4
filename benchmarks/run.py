"""Runs every benchmark, one after the other."""

import epoch
import extraction
import memory

if __name__ == "__main__":
    for benchmark in (epoch, extraction, memory):
        benchmark.main()
