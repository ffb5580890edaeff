"""Training, distillation and checkpoints; what runs them needs torch, their settings do not."""
