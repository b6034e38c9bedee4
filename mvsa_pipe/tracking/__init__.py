"""Records trainings in experiment trackers besides their run folders."""
