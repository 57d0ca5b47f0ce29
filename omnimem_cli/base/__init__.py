"""What every room stands on: errors, settings, time codes, the console, this process. Imports nothing but itself."""
