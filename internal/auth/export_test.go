package auth

// OverNetwork is the fetch of a Service that was given none.
var OverNetwork = overNetwork
