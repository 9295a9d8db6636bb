! Fortran 2008: Newton's method on a frozen network, by products of its second derivatives with vectors (fnn_hvp).
!
!   gfortran newton.f90 $(python -m fastnn config --libs) -o newton && ./newton landscape.fnn -3 3
!
! landscape.py writes such a file; any network of one output in float64 will do, with as many inputs as there are numbers
! behind the file. Module fastnn is all that Fortran needs to know of the library: copy it.

module fastnn
  use, intrinsic :: iso_c_binding, only: c_char, c_double, c_int, c_null_char, c_ptr, c_size_t
  implicit none

  interface
    function fnn_load(path) bind(c) result(network)
      import :: c_char, c_ptr
      character(kind=c_char), intent(in) :: path(*)  ! ends with c_null_char
      type(c_ptr) :: network                         ! null where the file could not be read
    end function

    subroutine fnn_free(network) bind(c)
      import :: c_ptr
      type(c_ptr), value :: network
    end subroutine

    function fnn_inputs(network) bind(c) result(count)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: network
      integer(c_size_t) :: count
    end function

    function fnn_outputs(network) bind(c) result(count)
      import :: c_ptr, c_size_t
      type(c_ptr), value :: network
      integer(c_size_t) :: count
    end function

    ! y(outputs, rows) and gradient(inputs, rows), the latter u times dy/dx, of x(inputs, rows) and u(outputs, rows): C's rows
    ! are Fortran's columns. All three return 0 where they could compute.
    function fnn_vjp(network, x, rows, u, y, gradient) bind(c) result(failed)
      import :: c_double, c_int, c_ptr, c_size_t
      type(c_ptr), value :: network
      integer(c_size_t), value :: rows
      real(c_double), intent(in) :: x(*), u(*)
      real(c_double), intent(out) :: y(*), gradient(*)
      integer(c_int) :: failed
    end function

    ! product(inputs, rows): the Hessian of u y, times v(inputs, rows).
    function fnn_hvp(network, x, rows, v, u, y, product) bind(c) result(failed)
      import :: c_double, c_int, c_ptr, c_size_t
      type(c_ptr), value :: network
      integer(c_size_t), value :: rows
      real(c_double), intent(in) :: x(*), v(*), u(*)
      real(c_double), intent(out) :: y(*), product(*)
      integer(c_int) :: failed
    end function
  end interface
end module

program newton
  use, intrinsic :: iso_c_binding, only: c_associated, c_double, c_null_char, c_ptr, c_size_t
  use fastnn
  implicit none
  type(c_ptr) :: network
  real(c_double), allocatable :: x(:), slope(:), move(:)
  real(c_double) :: height
  character(len=1000) :: word
  integer :: step, k, failed

  call get_command_argument(1, word)
  network = fnn_load(trim(word) // c_null_char)
  if (.not. c_associated(network)) error stop "the file could not be read"
  if (fnn_outputs(network) /= 1) error stop "the network must have one output"
  allocate (x(fnn_inputs(network)))
  if (command_argument_count() /= 1 + size(x)) error stop "a number for each input is needed behind the file"
  do k = 1, size(x)
    call get_command_argument(k + 1, word)
    read (word, *) x(k)
  end do

  allocate (slope, move, mold=x)
  do step = 0, 50
    call look(x, height, slope)
    print "(a, i0, a, es23.15, a, es8.1, a, *(es23.15))", "step ", step, ": height", height, &
      ", slope ", norm2(slope), ", at", x
    if (norm2(slope) < 1e-10_c_double) exit
    call solve(x, -slope, move)
    x = x + move * min(1.0_c_double, 0.5_c_double / norm2(move))
  end do
  call fnn_free(network)

contains

  ! One call for the height and the slope.
  subroutine look(x, height, slope)
    real(c_double), intent(in) :: x(:)
    real(c_double), intent(out) :: height, slope(:)
    real(c_double) :: y(1)
    failed = fnn_vjp(network, x, 1_c_size_t, [1.0_c_double], y, slope)
    if (failed /= 0) error stop "the derivatives could not be computed"
    height = y(1)
  end subroutine

  ! Solves H move = b by conjugate gradients, which need products with H alone; where H does not curve upward they end, at
  ! the latest with b itself, which points downhill.
  subroutine solve(x, b, move)
    real(c_double), intent(in) :: x(:), b(:)
    real(c_double), intent(out) :: move(:)
    real(c_double) :: rest(size(x)), direction(size(x)), product(size(x)), y(1), curvature, before, rate
    integer :: turn
    move = 0
    rest = b
    direction = b
    do turn = 1, 2 * size(x)
      failed = fnn_hvp(network, x, 1_c_size_t, direction, [1.0_c_double], y, product)
      if (failed /= 0) error stop "the derivatives could not be computed"
      curvature = dot_product(direction, product)
      if (curvature <= 0) then
        if (turn == 1) move = b
        return
      end if
      before = dot_product(rest, rest)
      rate = before / curvature
      move = move + rate * direction
      rest = rest - rate * product
      if (norm2(rest) < 1e-12_c_double * norm2(b)) return
      direction = rest + dot_product(rest, rest) / before * direction
    end do
  end subroutine
end program
