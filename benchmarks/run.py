"""Runs every benchmark, one after the other."""

import decode
import epoch
import extraction
import idle
import memory
import one_pass
import storage
import text_batches

if __name__ == "__main__":
    for benchmark in (decode, storage, text_batches, one_pass, extraction, epoch, memory, idle):
        benchmark.main()
