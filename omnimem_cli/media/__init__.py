"""The only room that knows ffmpeg: probing files and turning them into timed segments."""
