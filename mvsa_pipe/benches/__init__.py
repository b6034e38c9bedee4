"""Many runs side by side: heads × seeds, summed up a head at a time."""
