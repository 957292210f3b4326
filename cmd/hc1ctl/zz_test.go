package main
import ("testing";"time")
func TestZZ(t *testing.T){ for i:=0;i<3;i++ { b:=time.Now(); ctl(t,"","device","list","--sysfs","/tmp/none"); t.Log(time.Since(b)) } }
