require "ended"()
