package proxy

import "reflect"

// TunnelBytes is what a tunnel takes.
var TunnelBytes = reflect.TypeFor[tunnel]().Size()
