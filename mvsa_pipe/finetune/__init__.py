"""End to end: backbones and head trained together, through the step that heads are trained with."""
