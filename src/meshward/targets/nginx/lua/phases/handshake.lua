require "handshake"()
