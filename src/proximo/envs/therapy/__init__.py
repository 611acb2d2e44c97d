"""A simulated therapy client on the interpersonal circle: `proximo/Therapy-v0`."""
