require "request"()
