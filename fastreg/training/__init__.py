"""Training: the trainer, its settings, the loop over epochs, resuming, refitting, ensembles."""
