"""What the stages share: the bus, the messages, configuration, the protocol and the audio
devices.
"""
