"""What combines networks, images and measures in its own way, beside the one loop.

What belongs here: whole tests that `probe` cannot make, since they need a gradient, a single image
or a changed network. What does not: numbers (`measures`) and drawing (`figures`).
"""
