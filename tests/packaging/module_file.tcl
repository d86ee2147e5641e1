# module_file.tcl MODULEFILE: evaluates a module file with stand-ins for the commands of Environment Modules and Lmod that it may use, and prints them.
proc note {name args} { puts "$name $args" }
foreach name {module-whatis conflict prepend-path} { interp alias {} $name {} note $name }
source [lindex $argv 0]
ModulesHelp
