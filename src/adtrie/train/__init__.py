"""Fine-tuning: the only part that needs torch (the extra [train])."""
