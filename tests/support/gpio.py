"""Runs examples/gpio_button.py on mock pins: SIGUSR1 presses the button, SIGUSR2 lets it go.

The first SIGUSR1 starts the example: the imports take so long on a busy machine that monitor would
take the stages that a test plays for dead.
"""

from __future__ import annotations

import signal
import threading

from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from examples import gpio_button

PRESS, LET_GO = signal.SIGUSR1, signal.SIGUSR2


def _move(factory: MockFactory) -> None:
    while True:
        pin = factory.pin(17)
        if signal.sigwait({PRESS, LET_GO}) == PRESS:
            pin.drive_low()  # the button connects the pin to ground
        else:
            pin.drive_high()


if __name__ == "__main__":
    # Blocked in every thread, the signals wait for sigwait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {PRESS, LET_GO})
    print("imported", flush=True)
    signal.sigwait({PRESS})
    Device.pin_factory = MockFactory()
    threading.Thread(target=_move, args=[Device.pin_factory], daemon=True).start()
    gpio_button.main()
