"""Simple statistical models in closed form: baselines for trained models."""
