"""From files to one array: decode, detect, align, track, landmarks, frame sampling, store."""
