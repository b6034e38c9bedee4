"""Runs every benchmark, one after the other."""

import analyses
import decode
import decode_pixels
import epoch
import extraction
import idle
import independence
import kept_bytes
import memory
import one_pass
import page
import peers
import relations
import spinning
import stacking
import startup
import step
import storage
import sweep
import text_batches

BENCHMARKS = (
    decode,
    decode_pixels,
    storage,
    kept_bytes,
    text_batches,
    one_pass,
    extraction,
    epoch,
    memory,
    idle,
    startup,
    spinning,
    step,
    stacking,
    independence,
    sweep,
    relations,
    analyses,
    page,
    peers,
)

if __name__ == "__main__":
    for benchmark in BENCHMARKS:
        benchmark.main()
