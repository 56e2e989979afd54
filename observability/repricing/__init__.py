"""Re-pricing of a period: `cost` computes one request anew, `preview` a run, `posting` writes its adjustments."""
