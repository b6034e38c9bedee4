"""Stage two: any head over cached features, selected on validation alone."""
