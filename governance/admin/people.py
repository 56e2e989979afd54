"""Users and groups on unfold's forms, with the memberships that decide what a user sees."""

from __future__ import annotations

from typing import Any

import rest_framework.authtoken.admin  # noqa: F401  (registers the page that is removed here)
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Q
from django.http import HttpRequest
from django.utils.safestring import SafeString
from rest_framework.authtoken.models import TokenProxy
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from governance.admin import cells
from governance.admin.base import VisibleAdmin
from governance.admin.tenants import MembershipInline, visible_memberships
from governance.models import Customer, Developer, Membership
from governance.services import audit

for model in (User, Group):
    admin.site.unregister(model)
# Its pages show API tokens in full; `manage.py issue_api_token` makes them instead.
admin.site.unregister(TokenProxy)


class UserMembershipInline(MembershipInline):
    fk_name = "user"
    autocomplete_fields = ["customer", "team"]
    verbose_name_plural = "may see"


@admin.register(User)
class UserAdmin(DjangoUserAdmin, VisibleAdmin):  # type: ignore[type-arg]
    """Who is no superuser manages only people whose every membership they may see, and makes nobody a superuser."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = [UserMembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "roles", "is_active", "signed_in"]
    list_filter = ["is_active", "is_staff", "groups"]
    ordering = ["username"]
    add_fieldsets = [
        (None, {"fields": ["username", "usable_password", "password1", "password2"]}),
        ("Roles", {"fields": ["groups"]}),
    ]
    fieldsets = [
        (None, {"fields": ["username", "password", "is_active"]}),
        ("Person", {"fields": ["first_name", "last_name", "email"]}),
        ("Roles", {"fields": ["is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Dates", {"fields": ["last_login", "date_joined"], "classes": ["collapse"]}),
    ]
    readonly_fields = ["last_login", "date_joined"]
    filter_horizontal = []
    autocomplete_fields = ["groups"]

    def get_queryset(self, request: HttpRequest) -> Any:
        users = super().get_queryset(request).prefetch_related("groups")
        if request.user.is_superuser:
            return users
        seen = visible_memberships(Membership.objects.all(), request.user)
        beyond = Membership.objects.exclude(pk__in=seen.values("pk")).values("user")
        strangers = Developer.objects.exclude(customer__in=Customer.objects.visible_to(request.user)).exclude(user=None)
        manageable = Q(memberships__in=seen) | Q(pk=request.user.pk)
        if request.user.has_perm("auth.add_user"):
            # Somebody just made has no membership yet; their maker gives the first.
            manageable |= Q(memberships__isnull=True)
        return (
            users.filter(manageable, is_superuser=False)
            .exclude(pk__in=beyond)
            .exclude(pk__in=strangers.values("user"))
            .distinct()
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        fixed = [] if request.user.is_superuser else ["is_superuser", "user_permissions"]
        if obj is not None and obj.pk == request.user.pk and not request.user.is_superuser:
            fixed += ["groups", "is_staff"]
        return [*super().get_readonly_fields(request, obj), *fixed]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        # Who is made here is meant to sign in here; without it a role would let nobody in.
        obj.is_staff = obj.is_staff or not change
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        before = _roles(form.instance)
        super().save_related(request, form, formsets, change)
        after = _roles(form.instance)
        if before != after:
            changes = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
            audit.record(actor=request.user, action="user.roles_changed", target=form.instance, changes=changes)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """A change of password, which saves past `save_model`, is noted here; the rest is in the trail already."""
        if message == "Changed password.":
            audit.record(actor=request.user, action="user.password_changed", target=obj)

    @admin.display(description="Last login (UTC)", ordering="last_login")
    def signed_in(self, user: User) -> SafeString | str:
        return cells.minute(user.last_login) if user.last_login else cells.quiet("never")

    @admin.display(description="Roles")
    def roles(self, user: User) -> str:
        names = sorted(group.name for group in user.groups.all())
        return ", ".join([*(["Superuser"] if user.is_superuser else []), *names]) or "—"


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, VisibleAdmin):
    list_display = ["name"]
    search_fields = ["name"]
    filter_horizontal = []

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        before = sorted(form.instance.permissions.values_list("codename", flat=True))
        super().save_related(request, form, formsets, change)
        after = sorted(form.instance.permissions.values_list("codename", flat=True))
        if before != after:
            changes = {"permissions": [sorted(set(before) - set(after)), sorted(set(after) - set(before))]}
            audit.record(actor=request.user, action="group.permissions_changed", target=form.instance, changes=changes)


def _roles(user: User) -> dict[str, list[str]]:
    return {
        "groups": sorted(user.groups.values_list("name", flat=True)),
        "permissions": sorted(user.user_permissions.values_list("codename", flat=True)),
    }
