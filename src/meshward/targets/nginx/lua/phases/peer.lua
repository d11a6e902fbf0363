require "peer"()
