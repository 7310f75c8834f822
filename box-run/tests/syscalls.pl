# Tries each system call in a process of its own, with arguments that none can use, and prints how many are neither
# refused nor missing.
my $passed = 0;
for my $number (0 .. 469) {
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDERR, '>', '/dev/null';
        alarm 1;
        my $result = syscall($number, -1, -1, -1, -1, -1, -1);
        exit(($result == -1 && ($!{EPERM} || $!{ENOSYS})) ? 7 : 0);
    }
    waitpid $pid, 0;
    $passed++ unless $? >> 8 == 7;
}
print "$passed\n";
