"""infomech compared with other libraries, and with the limits of the hardware."""
