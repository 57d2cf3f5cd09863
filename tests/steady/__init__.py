"""A healthy service under the same load for long: does anything in it grow?"""
