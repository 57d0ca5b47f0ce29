"""Budget-aware fine-tuning of any model: `omnimem finetune`."""
