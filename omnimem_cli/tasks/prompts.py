"""The texts that tasks put to a model. Knows no model and no video.

Nano is trained on exactly these wordings (and a few paraphrases), so a change here asks for a new nano.
"""

SUMMARY = "Summarize this video: what is shown, and what is said."
NOTE = "Describe this part of the video: what is shown, and what is said."
TRANSCRIBE = "Write down the speech in this part of the video word for word."
TITLE = "Give this part of the video a short title."
NOTHING_SAID = "(no speech)"
