"""The generated videos and questions with known answers: for training, for the bench and for tests.

`video` makes them, `questions` asks about them, `scoring` judges answers, `mp4` writes real files.
"""
