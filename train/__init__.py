"""Fine-tune speech models on a dataset, with LoRA or all weights."""
