"""A recorded file, played at a chosen speed."""
